"""From a booted machine to a Kubernetes node: user data, phone home, SSH, kubeadm."""
