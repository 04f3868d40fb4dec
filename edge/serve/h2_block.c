/* A header block of ours on an HTTP/2 connection, written past the library: by the exchange that answers, and by the
 * guard where a request is answered before it is complete. */
#include <string.h>

#include "edge/serve/serve_priv.h"

void h2_block_write(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, const h2_block_t *b)
{
    if (conn->_output_header_table.num_entries > 0) { /* the library answered a malformed request by itself */
        h2o_hpack_dispose_header_table(&conn->_output_header_table);
        memset(&conn->_output_header_table, 0, sizeof conn->_output_header_table);
        conn->_output_header_table.hpack_capacity = H2O_HTTP2_SETTINGS_HOST.header_table_size;
        h2_head_resync(&c->h2.head);
    }
    size_t bound = h2_head_bound(b->v, b->n), most = conn->peer_settings.max_frame_size;
    size_t frames = bound / most + 1;
    uint8_t *at = (uint8_t *)h2o_buffer_reserve(&conn->_write.buf, bound + frames * H2O_HTTP2_FRAME_HEADER_SIZE).base;
    size_t size =
        h2_head_encode(&c->h2.head, at + H2O_HTTP2_FRAME_HEADER_SIZE, b->status, b->v, b->n, b->content_length);
    uint8_t type = H2O_HTTP2_FRAME_TYPE_HEADERS, flags = b->last ? H2O_HTTP2_FRAME_FLAG_END_STREAM : 0;
    for (size_t left = size;;) {
        size_t some = left < most ? left : most;
        if (some == left)
            flags |= H2O_HTTP2_FRAME_FLAG_END_HEADERS;
        h2o_http2_encode_frame_header(at, some, type, flags, (int32_t)stream);
        at += H2O_HTTP2_FRAME_HEADER_SIZE + some;
        left -= some;
        conn->_write.buf->size += H2O_HTTP2_FRAME_HEADER_SIZE + some;
        if (left == 0)
            break;
        memmove(at + H2O_HTTP2_FRAME_HEADER_SIZE, at, left);
        type = H2O_HTTP2_FRAME_TYPE_CONTINUATION;
        flags = 0;
    }
    h2o_http2_conn_request_write(conn);
}
