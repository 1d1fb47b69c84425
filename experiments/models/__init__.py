"""Models as pure functions over pytrees: a frozen dataclass of settings with `init` and `apply`."""
