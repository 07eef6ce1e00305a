package xdsserver

// debt is what a client was sent of one type and does not serve: what it has not answered for yet, and what it has refused. The
// last nonce does not tell: a delta response that is accepted says nothing of a resource that was refused in the one before.
type debt struct {
	since uint64    // view of the oldest response without an answer, 0 when all are answered
	last  *response // what is to be answered for, nil when nothing is

	refused map[string]uint64 // the views in which resources were refused, by name; they are not sent again until they change
	text    string            // why, of the last refusal; "" when nothing is refused
}

// nothing stands in refused for a response without resources.
const nothing = ""

// sent notes a response, made from a view.
func (d *debt) sent(r *response, view uint64) {
	d.last = r
	if d.since == 0 {
		d.since = view
	}
}

// answered takes the answer to the last response; refusal is "" when it was accepted. whole says that responses of the type hold all there
// is, so that one which is accepted makes up for all before it.
func (d *debt) answered(refusal string, whole bool) {
	switch {
	case refusal != "":
		if d.refused == nil {
			d.refused = map[string]uint64{}
		}
		d.last.each(func(name string) { d.refused[name] = d.since })
		if len(d.refused) == 0 {
			d.refused[nothing] = d.since
		}
		d.text = refusal
	case whole:
		d.refused = nil
	case len(d.refused) > 0:
		delete(d.refused, nothing)
		d.last.each(d.forgive)
	}
	if len(d.refused) == 0 {
		d.refused, d.text = nil, ""
	}
	d.since, d.last = 0, nil
}

// forgive drops a name that the client has accepted since, or no longer wants.
func (d *debt) forgive(name string) {
	delete(d.refused, name)
	if len(d.refused) == 0 {
		d.text = ""
	}
}

// refusedIn returns the latest view of which something is refused, 0 when nothing is.
func (d *debt) refusedIn() uint64 {
	var latest uint64
	for _, v := range d.refused {
		latest = max(latest, v)
	}
	return latest
}

// each calls f with the names of a response, removed ones too.
func (r *response) each(f func(name string)) {
	for _, res := range r.res {
		f(res.Name)
	}
	for _, name := range r.removed {
		f(name)
	}
}
