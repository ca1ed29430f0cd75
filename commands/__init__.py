"""The commands of the proxy's own: one module each."""
