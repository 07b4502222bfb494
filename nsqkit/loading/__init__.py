"""Loading: import the modules of handlers and check their declarations."""
