"""The suite that Kubernetes itself ships (e2e.test): storage against our driver, load balancers against our manager."""
