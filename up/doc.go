// Package up is a folder as the content of a mesh, for `lateen up DIR`: the objects in its YAML files, and the apps that its lateen.yaml names.
//
//	what apps there are, from lateen.yaml         (apps.go)
//	the workloads that they are, with addresses   (plan.go)
//	objects into the mesh, as `lateen apply` does (objects.go)
//	and all of it again when a file changes       (folder.go)
//
// localmesh runs it. The package imports neither control plane nor proxy. Only cli imports it.
package up
