"""The only talk with Argo, Kubernetes and the object store."""
