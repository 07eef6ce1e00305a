package config

// FromJSON reads and validates one object as an API server of Kubernetes gives it, in JSON. It has no source: positions in it are 0. On mistakes the error
// is of type Problems, each with the object's key where that is known.
func FromJSON(data []byte) (*Object, error) {
	set, err := Load([]File{{Data: data}}, LoadOptions{})
	if err != nil {
		problems := AsProblems(err)
		for i := range problems {
			problems[i].Line = 0
		}
		return nil, problems
	}
	all := set.All()
	if len(all) != 1 {
		return nil, Problems{{Text: "there is no object in it"}}
	}
	o := all[0]
	o.Source, o.tree, o.offset = Source{}, nil, 0
	return o, nil
}
