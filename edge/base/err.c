/* The one place where an error gets its words. */
#include "edge/base/err.h"

const char *err_text(err_t e)
{
    switch (e) {
    case ERR_OK:
        return "ok";
    case ERR_SYNTAX:
        return "syntax error";
    case ERR_RANGE:
        return "value out of range";
    case ERR_TOO_BIG:
        return "too big";
    case ERR_NO_MEMORY:
        return "out of memory";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_EXISTS:
        return "exists already";
    case ERR_IO:
        return "input/output error";
    case ERR_CLOSED:
        return "closed";
    case ERR_TIMEOUT:
        return "timed out";
    case ERR_REFUSED:
        return "refused";
    case ERR_AGAIN:
        return "not now";
    case ERR_CORRUPT:
        return "corrupt";
    case ERR_MALFORMED:
        return "malformed";
    }
    return "unknown error";
}
