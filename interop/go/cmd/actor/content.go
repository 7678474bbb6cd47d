package main

import "bytes"

// tableLength is prime, so that no round number of bytes repeats the content.
const tableLength = 65_521

// table holds the bytes that streams carry. The Rust side generates the same ones.
var table = makeTable()

func makeTable() []byte {
	made := make([]byte, tableLength)
	state := uint32(1)
	for i := range made {
		state = state*1_664_525 + 1_013_904_223
		made[i] = byte(state >> 24)
	}
	return made
}

// place is the index in the table of the byte at a position of a stream, in the
// direction away from the client or the server.
func place(stream uint32, fromClient bool, position int) int {
	start := uint64(stream) * 7919
	if fromClient {
		start += 31_337
	}
	return int((start + uint64(position)) % tableLength)
}

// fill writes the content of a stream from a position on.
func fill(buffer []byte, stream uint32, fromClient bool, position int) {
	for len(buffer) > 0 {
		n := copy(buffer, table[place(stream, fromClient, position):])
		buffer, position = buffer[n:], position+n
	}
}

// right reports whether bytes are the content of a stream from a position on.
func right(got []byte, stream uint32, fromClient bool, position int) bool {
	for len(got) > 0 {
		want := table[place(stream, fromClient, position):]
		n := min(len(got), len(want))
		if !bytes.Equal(got[:n], want[:n]) {
			return false
		}
		got, position = got[n:], position+n
	}
	return true
}
