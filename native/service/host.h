/*
 * host.h - what the service offers to libservices (dc_host).
 */
#ifndef DICICLO_SERVICE_HOST_H
#define DICICLO_SERVICE_HOST_H

#include <diciclo/libservice.h>

const struct dc_host *dc_host_get(uint64_t epoch);
void dc_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3))); /* syslog(3) priorities; a line on stderr, which pool-init keeps in log/service.log */

#endif
