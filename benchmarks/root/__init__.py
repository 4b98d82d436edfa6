"""root:// beside a stock XRootD: redirects, reads and staging, measured in turn in one run."""
