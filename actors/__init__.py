"""Who owns the work: task actors and their life cycle, registry, ledger, gateway, and the tree that holds them."""
