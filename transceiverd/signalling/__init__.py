"""Signalling over HTTP: the public listener (calls, WHIP, the call page) and the operator's (metrics, sessions).

One process, no call state: offers are parsed and negotiated here, everything about a call is asked of the `CallRouter`
(`router.py`), which finds the transceiver by load or by call id. `app.py` and `operator.py` build the two applications,
`server.py` puts them onto sockets with bounds on connections and time.
"""
