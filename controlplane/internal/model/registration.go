package model

// Registration is a service as a registry outside the mesh's own objects gives it: Consul, Nomad. It is one registry's word; several may
// register the same host, and then the first by source says what the service is and the endpoints of all are its endpoints.
type Registration struct {
	// Service has Registry set, and neither Selector nor Inline.
	Service *Service
	// Instances have Port and ServicePort set: one for each endpoint and service port that it serves.
	Instances []Instance
}

// Key is the key of the service in Snapshot.Services.
func (r *Registration) Key() string { return r.Service.Key() }
