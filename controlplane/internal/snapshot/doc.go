// Package snapshot turns objects into an immutable model.Snapshot, incrementally.
//
// The order of the flow: a Builder takes changes of objects (from the config store and from
// the registries alike); each object is converted on its own into the model's plain form
// (service.go, route.go, rule.go, policy.go, mesh.go); what differs is put into the tables
// (builder.go); indexes and endpoints that depend on it, and only those, are derived again
// (derive.go). The result of any sequence of changes equals that of building from the final
// objects at once; a property test holds that.
//
// It does no I/O, starts nothing, and does not judge objects: config/validate has. What
// cannot be expressed in the model is reported as a Problem, by name, and the rest goes on.
// The control plane's wiring imports it; it imports model and the API types of the objects.
package snapshot
