"""Stand-ins for what a laptop cannot have: Kubernetes' API and Argo's controller. The object store is a real one."""
