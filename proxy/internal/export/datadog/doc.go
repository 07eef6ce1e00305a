// Package datadog reports spans to Datadog's agent, as MessagePack at /v0.4/traces
// (https://docs.datadoghq.com/tracing/guide/send_traces_to_agent_by_api/), and takes from its answers how many traces are to be kept.
// All spans of a request are one entry of a report, the request's own first, so they wait for its end. What is not to be kept is
// reported as well, since the agent counts all requests. Reports are made and sent by export.
//
// Only server imports this package.
package datadog
