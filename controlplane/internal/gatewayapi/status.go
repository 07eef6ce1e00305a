package gatewayapi

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/config"
)

// setCondition adds a condition, or replaces the one of its type.
func setCondition(list *[]metav1.Condition, o *config.Object, typ string, holds bool, reason, format string, args ...any) {
	next := metav1.Condition{
		Type: typ, Status: metav1.ConditionFalse, ObservedGeneration: o.Generation, Reason: reason, Message: fmt.Sprintf(format, args...),
	}
	if holds {
		next.Status = metav1.ConditionTrue
	}
	for i := range *list {
		if (*list)[i].Type == typ {
			(*list)[i] = next
			return
		}
	}
	*list = append(*list, next)
}

func (c *conversion) setStatus(o *config.Object, status any) {
	raw, err := json.Marshal(status)
	if err != nil {
		panic("BUG: a status that is no JSON: " + err.Error())
	}
	c.out.Status[o.Key()] = raw
}
