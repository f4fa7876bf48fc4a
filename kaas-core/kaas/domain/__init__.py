"""What a cluster is and what may become of it: plain types and pure rules, without database, HTTP or Kubernetes."""
