// Package filewatch tells when a file is moved into a place. It watches directories through
// inotify, so that the file need not be there yet and links on the way (a Kubernetes
// ConfigMap's "..data") may be swapped. It reads nothing and judges nothing: a write into a file
// that stays is not reported, since nobody can tell when a writer is done. xdsclient and server
// import it.
package filewatch
