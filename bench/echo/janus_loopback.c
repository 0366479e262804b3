/* Lets Janus use the loopback interface, which it skips by its flag: preloaded, takes the flag away. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>

int getifaddrs(struct ifaddrs **found)
{
	int (*real)(struct ifaddrs **) = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");
	int result = real(found);
	for (struct ifaddrs *one = result ? 0 : *found; one; one = one->ifa_next)
		one->ifa_flags &= ~(unsigned)IFF_LOOPBACK;
	return result;
}
