"""The agent: runs on a device, dials out to a hilnas host, measures the models it is sent."""

__version__ = "0.1.0"
