/* What watches over this process is told how it is (sd_notify(3), without the library): a datagram to the socket that
 * NOTIFY_SOCKET names. Without one nothing is sent. Main thread only. */
#ifndef BRINK_SUPERVISOR_H
#define BRINK_SUPERVISOR_H

#include <sys/types.h>

void supervisor_ready(void);         /* the node answers; after a start and after a hand-over */
void supervisor_stopping(void);      /* it was told to stop and drains */
void supervisor_moved_to(pid_t pid); /* the service goes on in that process, and this one will end */

#endif
