"""How money comes in: by hand (`manual`), or through a provider (`stripe`) where the operator has an account."""
