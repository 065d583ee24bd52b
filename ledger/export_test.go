package ledger

// DecodeBody reads a body alone, as Decode and Admit do.
func DecodeBody(p []byte, b *Body) (unknown bool, err error) { return decodeBody(p, b, Subject{}) }
