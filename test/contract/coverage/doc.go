// Package coverage holds, for each kind that users write, a table of its fields with the test that shows each: KIND.yaml, beside this file.
//
// The test of this package walks the kind's proto by reflection. A field without an entry fails it, and so do an entry for a field that does
// not exist, one that names a test or row that does not exist, and one whose rows' objects do not set the field. An entry is
//
//	http.timeout: "timeouts: a slow answer"              a row of ../testdata/decisions/timeouts.yaml
//	http.match.*: ["match: exact", "match: prefix"]       everything below a field; several rows, which together must set each
//	http.name: golden http-match                          a scenario of controlplane/internal/translate/testdata
//	exportTo: test/x_test.go TestX                        a Go test, by file
//
// Fields that have no effect stand under the key "reported", with ".*" for all below one: the test sets each, and wants it to be reported by name, as
// `lateen analyze` and the control plane do. MeshConfig and ProxyConfig have tables as well; rows and scenarios show what their mesh.yaml sets.
// Fields that nothing shows yet stand under the key "open", so that a kind can be begun before it is done; one that is covered may not.
// It has no code outside of its tests.
package coverage
