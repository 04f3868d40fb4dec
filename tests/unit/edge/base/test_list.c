/* The ring against an array that does the same. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "edge/base/list.h"

typedef struct item {
    int id;
    list_t link;
} item_t;

static void expect_order(list_t *anchor, const int *ids, size_t n)
{
    size_t i = 0;
    for (list_t *l = anchor->next; l != anchor; l = l->next, i++) {
        cr_assert_lt(i, n);
        cr_assert_eq(LIST_ITEM(l, item_t, link)->id, ids[i]);
        cr_assert_eq(l->next->prev, l);
        cr_assert_eq(l->prev->next, l);
    }
    cr_assert_eq(i, n);
    cr_assert_eq(list_empty(anchor), n == 0);
}

Test(list, against_an_array)
{
    enum { ITEMS = 20 };
    item_t items[ITEMS];
    list_t anchor, other;
    int model[ITEMS];
    size_t n = 0;
    unsigned short seed[3] = {1, 1, 1};
    list_init(&anchor);
    for (int i = 0; i < ITEMS; i++) {
        items[i].id = i;
        list_init(&items[i].link);
    }
    for (int step = 0; step < 20000; step++) {
        item_t *it = &items[(size_t)(erand48(seed) * ITEMS)];
        bool linked = !list_empty(&it->link);
        switch ((int)(erand48(seed) * 5)) {
        case 0:
            if (linked)
                break;
            list_push_back(&anchor, &it->link);
            model[n++] = it->id;
            break;
        case 1:
            if (linked)
                break;
            list_push_front(&anchor, &it->link);
            memmove(model + 1, model, n++ * sizeof *model);
            model[0] = it->id;
            break;
        case 2: {
            size_t k = 0;
            list_remove(&it->link); /* also of an unlinked one */
            while (k < n && model[k] != it->id)
                k++;
            if (linked)
                memmove(model + k, model + k + 1, (--n - k) * sizeof *model);
            break;
        }
        case 3: {
            list_t *front = list_pop_front(&anchor);
            cr_assert_eq(front == NULL, n == 0);
            if (front != NULL) {
                cr_assert_eq(LIST_ITEM(front, item_t, link)->id, model[0]);
                cr_assert(list_empty(front));
                memmove(model, model + 1, --n * sizeof *model);
            }
            break;
        }
        default:
            list_init(&other);
            list_take(&other, &anchor);
            expect_order(&anchor, NULL, 0);
            expect_order(&other, model, n);
            list_take(&anchor, &other);
        }
        expect_order(&anchor, model, n);
    }
}
