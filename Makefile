# make run          start everything in the foreground; LAN=1 also for phones on this network (HTTPS, QR code)
# make test         the tests, in a few minutes
# make test-system  slow, privileged and browser-heavy tests
# make fault-table  each fault of the drill under live calls, and what it cost
# make reference    write systemd/ringline.toml and CONFIGURATION.md from the code
# make fuzz         the fuzz targets for SECONDS=60 (more at night); clang with libFuzzer for the compiled parsers
# make install      as system services, as root: PREFIX=/usr, DESTDIR= to stage it somewhere (systemd/README.md)
# make uninstall    and away again; an edited configuration stays, unless PURGE=1
# Each does all of its own set-up.

.PHONY: run reference test test-system fault-table fuzz lint install uninstall setup clean

SETUP := .ci/setup
PYTHON_BIN := .venv/bin
# For the installer, which needs no library: the first one that is new enough.
ANY_PYTHON = $(shell for each in python3 $(PYTHON_BIN)/python; do $$each -c "import tomllib" 2>/dev/null && echo $$each && break; done)

# Who names tests may name such of one kind only: pytest's status 5 says that nothing was selected.
OR_NONE = $(if $(ARGS),|| [ $$? = 5 ])

run:
	@.ci/setup
	@exec $(PYTHON_BIN)/relayctl run $(if $(LAN),--lan) $(ARGS)

reference:
	@.ci/setup
	$(PYTHON_BIN)/python -m systemd.reference

lint:
	@.ci/setup
	$(PYTHON_BIN)/ruff check .
	$(PYTHON_BIN)/ruff format --check .
	$(PYTHON_BIN)/mypy

test:
	@.ci/setup system
	@$(MAKE) --no-print-directory lint
	$(PYTHON_BIN)/pytest -m "not system" -n 2 --dist loadscope $(ARGS)

test-system:
	@.ci/setup system
	$(PYTHON_BIN)/pytest -m "system and anytime" -n 2 --dist load -rs $(ARGS) $(OR_NONE)
	$(PYTHON_BIN)/pytest -m "system and not anytime" -rs $(ARGS) $(OR_NONE)

fault-table:
	@.ci/setup
	@$(PYTHON_BIN)/python -m tests.faults $(ARGS)

fuzz:
	@.ci/setup
	$(PYTHON_BIN)/python -m fuzz.run --seconds $(or $(SECONDS),60)

# Nothing is compiled or downloaded by the installation itself: what .ci/setup made is copied.
install:
	@$(SETUP)
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" $(ANY_PYTHON) systemd/install.py install

uninstall:
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" PURGE="$(PURGE)" $(ANY_PYTHON) systemd/install.py uninstall

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find shm relayd transceiverd -name '*.c' -o -name '*.so' | xargs rm -f
