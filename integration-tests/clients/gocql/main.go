// gocql against a CQL server: connects, creates, writes, reads, pages; with each protocol version and compression. `client HOST PORT`.
package main

import (
	"fmt"
	"math/big"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
	"github.com/apache/cassandra-gocql-driver/v2/snappy"
	"gopkg.in/inf.v0"
)

const rows = 20_000

func main() {
	port, err := strconv.Atoi(os.Args[2])
	check(err, "the port")
	// Version 0: the driver finds out by itself.
	story(os.Args[1], port, 0, nil)
	story(os.Args[1], port, 3, snappy.SnappyCompressor{})
	story(os.Args[1], port, 4, lz4.LZ4Compressor{})
	story(os.Args[1], port, 5, lz4.LZ4Compressor{})
	fmt.Println("ok")
}

func story(host string, port, version int, compressor gocql.Compressor) {
	cluster := gocql.NewCluster(host)
	cluster.Port = port
	cluster.ProtoVersion = version
	cluster.Compressor = compressor
	cluster.Consistency = gocql.LocalOne
	cluster.Timeout = time.Minute
	cluster.ConnectTimeout = time.Minute
	session, err := cluster.CreateSession()
	check(err, "connect")
	keyspace := "go_" + strings.ReplaceAll(gocql.MustRandomUUID().String(), "-", "")[:12]
	run(session, "CREATE KEYSPACE "+keyspace+" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
	session.Close()

	cluster.Keyspace = keyspace
	session, err = cluster.CreateSession()
	check(err, "connect to the keyspace")
	defer session.Close()
	types(session)
	pages(session)
	statements(session)
	errors(session)
	run(session, "DROP KEYSPACE "+keyspace)
	fmt.Printf("ok      version %d, compression %v\n", version, compressor != nil)
}

func types(session *gocql.Session) {
	run(session, "CREATE TYPE address (street text, zip int)")
	run(session, "CREATE TABLE types (k int PRIMARY KEY, b bigint, bl blob, bo boolean, de decimal, do double, f float, i inet, s smallint, t text, ts timestamp,"+
		" u uuid, ty tinyint, vi varint, l list<int>, se set<text>, m map<text, bigint>, ad frozen<address>)")
	type address struct {
		Street string `cql:"street"`
		Zip    int    `cql:"zip"`
	}
	uuid, err := gocql.ParseUUID("3f1c2a90-5b1e-4c64-8d3c-0a9b8c7d6e5f")
	check(err, "a uuid")
	decimal, _ := new(inf.Dec).SetString("-1.500")
	wanted := []any{1, int64(-1 << 63), []byte{0, 255, 7}, true, decimal, 3.141592653589793, float32(0.25), net.ParseIP("2001:db8::1"), int16(-1 << 15), "grün 日本語",
		time.UnixMilli(-14182940123).UTC(), uuid, int8(-128), new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 200)), []int{3, 1, 2}, []string{"a", "b"},
		map[string]int64{"x": 1, "y": 2}, address{"Elm", 12345}}
	check(session.Query("INSERT INTO types (k, b, bl, bo, de, do, f, i, s, t, ts, u, ty, vi, l, se, m, ad) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		wanted...).Exec(), "insert")
	found := make([]any, len(wanted))
	for i, value := range wanted {
		found[i] = reflect.New(reflect.TypeOf(value)).Interface()
	}
	check(session.Query("SELECT k, b, bl, bo, de, do, f, i, s, t, ts, u, ty, vi, l, se, m, ad FROM types WHERE k = ?", 1).Scan(found...), "select")
	for i := range wanted {
		equal(fmt.Sprint(reflect.ValueOf(found[i]).Elem().Interface()), fmt.Sprint(wanted[i]), fmt.Sprintf("column %d", i))
	}
}

func pages(session *gocql.Session) {
	run(session, "CREATE TABLE pages (k int, c int, v text, PRIMARY KEY (k, c))")
	var writers sync.WaitGroup
	failures := make(chan error, rows)
	for writer := 0; writer < 100; writer++ {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for c := 0; c < rows/100; c++ {
				if err := session.Query("INSERT INTO pages (k, c, v) VALUES (?, ?, ?)", writer, c, fmt.Sprint("value ", c*100+writer)).Exec(); err != nil {
					failures <- err
				}
			}
		}()
	}
	writers.Wait()
	close(failures)
	for err := range failures {
		check(err, "insert")
	}
	count, k, c, v := 0, 0, 0, ""
	all := session.Query("SELECT k, c, v FROM pages").PageSize(999).Iter()
	for all.Scan(&k, &c, &v) {
		equal(v, fmt.Sprint("value ", c*100+k), "a row")
		count++
	}
	check(all.Close(), "all pages")
	equal(count, rows, "rows")
	next := 0
	one := session.Query("SELECT c FROM pages WHERE k = ?", 42).PageSize(7).Iter()
	for one.Scan(&c) {
		equal(c, next, "order inside a partition")
		next++
	}
	check(one.Close(), "pages of one partition")
	equal(next, rows/100, "rows of one partition")
}

func statements(session *gocql.Session) {
	run(session, "CREATE TABLE kv (k int PRIMARY KEY, v int)")
	var k, v int
	applied, err := session.Query("INSERT INTO kv (k, v) VALUES (?, ?) IF NOT EXISTS", 1, 10).ScanCAS(&k, &v)
	check(err, "the first insert")
	equal(applied, true, "the first insert")
	applied, err = session.Query("INSERT INTO kv (k, v) VALUES (?, ?) IF NOT EXISTS", 1, 11).ScanCAS(&k, &v)
	check(err, "the second insert")
	equal(applied, false, "the second insert")
	equal(v, 10, "what stood in its way")
	batch := session.Batch(gocql.LoggedBatch)
	batch.Query("INSERT INTO kv (k, v) VALUES (?, ?)", 2, 20)
	batch.Query("INSERT INTO kv (k, v) VALUES (?, ?)", 3, 30)
	check(batch.Exec(), "a batch")
	var count int64
	check(session.Query("SELECT COUNT(*) FROM kv").Scan(&count), "count")
	equal(count, int64(3), "rows after a batch")
	run(session, "CREATE TABLE n (k int PRIMARY KEY, c counter)")
	for i := 0; i < 10; i++ {
		check(session.Query("UPDATE n SET c = c + ? WHERE k = ?", 2, 1).Exec(), "a counter")
	}
	check(session.Query("SELECT c FROM n WHERE k = 1").Scan(&count), "the counter")
	equal(count, int64(20), "the counter")
}

func errors(session *gocql.Session) {
	for text, code := range map[string]int{
		"SELEC * FROM kv":                         gocql.ErrCodeSyntax,
		"SELECT nothing FROM kv":                  gocql.ErrCodeInvalid,
		"SELECT * FROM nowhere":                   gocql.ErrCodeInvalid,
		"CREATE TABLE kv (k int PRIMARY KEY)":     gocql.ErrCodeAlreadyExists,
		"CREATE TABLE x (k int PRIMARY KEY) WITH": gocql.ErrCodeSyntax,
	} {
		err := session.Query(text).Exec()
		refusal, is := err.(gocql.RequestError)
		if !is {
			check(fmt.Errorf("wanted code 0x%x, got %v", code, err), text)
		}
		equal(refusal.Code(), code, text)
	}
}

func run(session *gocql.Session, text string) {
	check(session.Query(text).Exec(), text)
}

func check(err error, about string) {
	if err != nil {
		fmt.Printf("FAILED  %s: %v\n", about, err)
		os.Exit(1)
	}
}

func equal(found, wanted any, about string) {
	if found != wanted {
		fmt.Printf("FAILED  %s: found %v, wanted %v\n", about, found, wanted)
		os.Exit(1)
	}
}
