package config

import "github.com/lateen-mesh/lateen/config/schema"

// Names returns the keys of the objects in files, right or wrong otherwise: to delete an object
// its kind, namespace and name are enough. Documents that do not tell even those are problems.
func Names(files []File, namespace string) ([]Key, Problems) {
	set, err := Load(files, LoadOptions{Namespace: namespace})
	var keys []Key
	for _, k := range schema.All() {
		for _, o := range set.List(k) {
			keys = append(keys, o.Key())
		}
	}
	var problems Problems
	seen := map[Key]bool{}
	for _, p := range AsProblems(err) {
		switch {
		case p.Key.Kind == nil || p.Key.Name == "":
			problems = append(problems, p)
		case !seen[p.Key] && set.Lookup(p.Key) == nil:
			seen[p.Key] = true
			keys = append(keys, p.Key)
		}
	}
	return keys, problems
}
