"""hilnas finds the neural network that is best on your boards."""

__version__ = "0.1.0"
