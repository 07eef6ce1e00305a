// Package accesslog writes access logs: a Logger decides by its filter and prints by its
// format, a File takes the lines and writes them in batches on a goroutine of its own.
//
// A worker never waits for a disk: lines go to a bounded buffer in memory; when the disk is
// too slow for it, lines are dropped and counted. Files are shared by path, reopened on
// request (log rotation), and flushed every second or 64 KiB.
//
// The operators are the format package's. hcm, tcpproxy and listener log; server owns Files.
package accesslog
