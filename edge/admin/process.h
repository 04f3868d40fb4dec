/* The metrics that every Prometheus client has of its process: CPU, resident memory, descriptors, start. */
#ifndef BRINK_ADMIN_PROCESS_H
#define BRINK_ADMIN_PROCESS_H

/* Once, at start. From then on every export asks the kernel (getrusage and /proc/self; no disk). */
void process_metrics(void);

#endif
