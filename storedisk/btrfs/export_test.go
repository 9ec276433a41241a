package btrfs

// NameHash is for tests that need names of one hash.
var NameHash = nameHash
