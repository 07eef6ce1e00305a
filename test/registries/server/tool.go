//go:build tools

// Package server pins the Consul server that test/registries builds and runs. It is a module of its own with nothing else in it: what a server
// needs is in other versions than what the product needs.
package server

import _ "github.com/hashicorp/consul"
