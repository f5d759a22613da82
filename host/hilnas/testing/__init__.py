"""What authors of plug-ins test with: contract suites for every axis. Needs pytest."""
