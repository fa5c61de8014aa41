"""What tests share: clusters, a browser, isolation from the developer's own machine."""
