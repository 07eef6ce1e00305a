package runfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// membersFolder holds a file for each workload that has joined the mesh from outside (`lateen run`).
const membersFolder = "members"

// Member is a workload that has joined a running mesh by itself: its process owns what runs, not the one that wrote run.json.
type Member struct {
	// PID is the process that joined and that owns Processes.
	PID int `json:"pid"`
	// Slot is the number of its addresses among those of all members, from 1.
	Slot      int       `json:"slot"`
	Proxy     Proxy     `json:"proxy"`
	App       *App      `json:"app,omitempty"`
	Processes []Process `json:"processes"`
}

// Join makes a workload a member. It calls with the lowest slot that no living member has, while nobody else can join, and keeps what it returns. A
// living member of that name is an error.
func Join(stateDir, name string, member func(slot int) (*Member, error)) error {
	dir := filepath.Join(stateDir, membersFolder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	defer lock.Close() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	taken := map[int]bool{}
	for _, m := range Members(stateDir) {
		if m.Proxy.Name == name {
			return fmt.Errorf("%s is a member of the mesh already (process %d): choose another --name or end that one", name, m.PID)
		}
		taken[m.Slot] = true
	}
	slot := 1
	for taken[slot] {
		slot++
	}
	m, err := member(slot)
	if err != nil {
		return err
	}
	return UpdateMember(stateDir, name, m)
}

// UpdateMember replaces what is known of a member.
func UpdateMember(stateDir, name string, m *Member) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode a member: %w", err)
	}
	return WriteFile(memberPath(stateDir, name), append(raw, '\n'), 0o644)
}

// Leave forgets a member; one that is not known is no error.
func Leave(stateDir, name string) error {
	err := os.Remove(memberPath(stateDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func memberPath(stateDir, name string) string {
	return filepath.Join(stateDir, membersFolder, name+".json")
}

// Members are those that live, by name. What cannot be read is left out: its owner writes it anew or is gone.
func Members(stateDir string) []Member {
	paths, err := filepath.Glob(filepath.Join(stateDir, membersFolder, "*.json"))
	if err != nil {
		return nil // the pattern is ours
	}
	var out []Member
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), ".") {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var m Member
		if json.Unmarshal(raw, &m) == nil && alive(m.PID) {
			out = append(out, m)
		}
	}
	return out
}

// IsMember says whether a living member has that name.
func IsMember(stateDir, name string) bool {
	for _, m := range Members(stateDir) {
		if m.Proxy.Name == name {
			return true
		}
	}
	return false
}
