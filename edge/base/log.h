/* The node's own log: one line on stderr, "LEVEL what happened". Any thread; the line is written with one write(2).
 * Not for requests: those go to the access log. A message says what is wrong, where, and what would be right. */
#ifndef BRINK_BASE_LOG_H
#define BRINK_BASE_LOG_H

typedef enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG } log_level_t;

void log_set_level(log_level_t most);
void log_line(log_level_t level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
