package cel

import (
	"errors"
	"fmt"
	"sync"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// Bounds of an expression. To parse the longest takes a quarter of a second; Envoy takes three times as long ones.
const (
	maxCodePoints = 32 << 10
	maxDepth      = 33 // as deep as in Envoy: 32 parentheses, 32 sums
	maxNodes      = 10_000
	maxTree       = 250
)

// environment has all functions that any expression may have. It is made once, when first asked for, and
// never changed.
var environment = sync.OnceValues(func() (*celgo.Env, error) {
	options := []celgo.EnvOption{
		celgo.StdLib(),
		celgo.ClearMacros(),
		celgo.Macros(celgo.HasMacro), // those of comprehensions are calls of functions that there are not
		celgo.EagerlyValidateDeclarations(false),
		celgo.ParserExpressionSizeLimit(maxCodePoints),
		celgo.ParserRecursionLimit(maxDepth),
		celgo.ParserErrorRecoveryLimit(1),
		celgo.ExpressionNodeLimit(maxNodes),
	}
	return celgo.NewCustomEnv(append(options, ownFunctions()...)...)
})

// parseError is the first complaint of the parser, on one line.
func parseError(issues *celgo.Issues) error {
	list := issues.Errors()
	if len(list) == 0 {
		return issues.Err()
	}
	e := list[0]
	return fmt.Errorf("column %d: %s", e.Location.Column()+1, e.Message)
}

// plan makes a program of a tree after it has passed the checker.
func plan(env *celgo.Env, tree *ast.AST, refuse func(group, name string) error) (*Expression, error) {
	c := checker{functions: env.Functions(), refuse: refuse, left: maxNodes, factory: ast.NewExprFactory()}
	if err := c.check(tree.Expr(), 0); err != nil {
		return nil, err
	}
	program, err := env.PlanProgram(tree)
	if err != nil {
		return nil, errors.New("cannot be evaluated: " + err.Error())
	}
	return &Expression{program}, nil
}
