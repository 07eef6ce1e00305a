// Package supervise keeps a set of child processes running: it starts them, writes their output to log files, starts again what
// dies, and ends all of them, with their own children, when its context ends. On Linux the kernel ends them too when the supervisor
// itself is killed.
//
// It does not know what the processes do, does not ask whether they are healthy, and does not order them: whoever adds a process
// says what it waits for (Process.Await). It reads no configuration.
//
// A leaf: it imports the standard library only, and any package may import it.
package supervise
