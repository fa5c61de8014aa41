"""History: an archive of ended invocations in Delta tables, which keeps them after the cluster has removed them."""
