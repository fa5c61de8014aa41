"""Talk to a cluster: settings, transport, statements, queries, and the ``Lab`` that combines them."""
