// Package statsd sends statistics in the forms of statsd and DogStatsD, once an interval: what
// counters grew by, gauges as they are, and the values that histograms recorded.
//
// A histogram keeps bins, not values, so a bin goes out as one timing with a sample rate: a server
// multiplies it by what it stands for. Datagrams are lost like any others; a TCP connection to a
// cluster is opened again after it broke. Only server imports this package.
// https://github.com/statsd/statsd/blob/master/docs/metric_types.md
package statsd
