module thecloud.example/pause

go 1.25.0
