// Package contract runs both halves of Lateen together in one process: YAML goes into the control plane, a request into a proxy, and
// the test asserts which route, cluster and host answered.
//
// A scenario is a folder below testdata: config.yaml holds the objects, cases.yaml the requests with what must come of them, and
// mesh.yaml, where there is one, the mesh configuration. Two proxies are fed by the control plane: a gateway, and the sidecar of an application
// called client. Nothing is faked but the applications. It has no code outside of its tests.
// testdata/decisions belongs to package decision, below.
package contract
