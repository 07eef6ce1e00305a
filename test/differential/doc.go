// Package differential runs our proxy and the real Envoy side by side: the same bootstrap, the
// same bytes from a client, the same scripted origin behind both, and everything that can be
// seen from outside is compared: status, headers, body, whether the connection stays, what
// the origin received, the access-log line with all operators, and counters.
//
// A file in testdata is a subject: a bootstrap in short form and any number of cases.
// testdata/README.md tells how to write one. Differences that stay stand in
// docs/envoy-differences.md, with the reason; the test reads that table, fails for a
// difference that is not in it, and for a row that nothing shows any more.
//
// It needs the Envoy program (see test/internal/envoybin) and skips with the command that
// gets it where there is none. It has no code outside of its tests, and imports no part of
// the proxy: both are programs to it.
package differential
