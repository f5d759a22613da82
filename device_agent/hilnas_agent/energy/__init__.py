"""Energy of an inference: settings, the pass, the integration, the figure."""
