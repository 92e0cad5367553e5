"""One function a rule: paths and plain values in, files out. No stage knows a method by name."""
