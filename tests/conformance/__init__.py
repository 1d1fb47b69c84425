"""JAX's own tests, with our reverse mode in the place of JAX's. See docs/conformance.md."""
