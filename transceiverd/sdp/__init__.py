"""SDP offer and answer of one call: text in, a negotiation that fits into a call's blob, text out.

The way: `parse.parse_offer` (text to `offer.Offer`) → `negotiate.negotiate` (what is accepted) → `answer.build_answer`
(text again). Sans-I/O and stateless: nothing here opens a socket, resolves a name or reads a clock, and no candidate of
an offer is ever contacted (FACTS 1). Errors are `errors.SdpError`; whatever the text, no other exception leaves.
"""
