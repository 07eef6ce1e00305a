package envoyfilter

import (
	"slices"

	"google.golang.org/protobuf/proto"
)

// element is a message of a list that patches change.
type element interface {
	comparable
	proto.Message
}

// cloned is a copy of a patch's value, for one place alone.
func cloned[E element](e *patch) E { return proto.Clone(e.Value).(E) }

// edit applies an operation to a list of filters or routes. matches says which elements a patch is for, and named whether it says so at all:
// without, BEFORE means before all and AFTER after all, and there is nothing to replace or remove. Of several that match, the first counts
// for all but REMOVE. MERGE is not for here.
func edit[E element](list []E, e *patch, named bool, matches func(E) bool) (out []E, applied bool) {
	at := -1
	if named {
		at = slices.IndexFunc(list, matches)
	}
	switch e.Operation {
	case opAdd:
		return append(list, cloned[E](e)), true
	case opInsertFirst:
		return slices.Insert(list, 0, cloned[E](e)), true
	case opInsertBefore:
		if !named {
			at = 0
		}
	case opInsertAfter:
		if !named {
			return append(list, cloned[E](e)), true
		}
		if at >= 0 {
			at++
		}
	case opReplace:
		if at >= 0 {
			list[at] = cloned[E](e)
		}
		return list, at >= 0
	case opRemove:
		if at < 0 {
			return list, false
		}
		return slices.DeleteFunc(list, matches), true
	default:
		return list, false
	}
	if at < 0 {
		return list, false
	}
	return slices.Insert(list, at, cloned[E](e)), true
}
