"""Load on a running demo: two nodes and real parties, profile by profile, with Locust."""
